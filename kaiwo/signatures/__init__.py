"""Signatures of models, by the OpenSSF way: what is signed is what may arrive.

envelope    the bundle: a payload, and who is said to have signed it
trust       keys and certificates, and what they prove
identity    identities of Sigstore, and what its log proves
periods     until when authorities and logs of a trust root were in use
statement   the payload: names and digests of files
signed      a listing of which every object has the digest that was signed
"""
