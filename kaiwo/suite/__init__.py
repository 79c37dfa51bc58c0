"""The parts of the conformance suite, which ``kaiwo.testing`` puts together.

    bucket      what a provider says of its test server
    listing     listings and look-ups
    reading     ranges, streams, checksums, identity
    sharing     openers, credentials, threads, lines that break

The relay between a source and its server is the package's own business.
"""
