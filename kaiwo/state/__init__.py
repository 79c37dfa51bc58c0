"""The folder ``.kaiwo/``: what is in place, what is unfinished, who has which targets.

    folder        the names of everything in it
    state         the manifests and journals of a run's roots
    manifest      what is in place
    records       a line of the manifest
    leftovers     what runs that are over left behind, and its removal
    sharing       who may read and write it
    claims        which run may write which targets
    small_files   files of the state that are written whole
    shared_parts  what the shards of a plan have left

The other modules are for these only.
"""
