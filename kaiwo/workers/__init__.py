"""Functions that run in an executor: they take frozen jobs and return frozen outcomes.

jobs           read, verify and publish objects
list_objects   list the objects of a want
doubts         listed objects that may be no files
reading        how bytes are read: at once or in pieces
progress       how workers say what has arrived
bandwidth      the limit of bytes a second that all workers keep to
formats        whether a file of weights has a header of its format
globs          which keys a glob selects
pins           what pins an object, for a lock
bundles        the bundle of a signature
verify         whether bytes are the right ones; the checksum of a file
shared_calls   calls that several threads need at once
source_cache   the sources that this process has open
threads        the executor: threads, and fewer where no more can be started

The other modules are the workers' own business.
"""
