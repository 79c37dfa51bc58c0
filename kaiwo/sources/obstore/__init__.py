"""Object stores through obstore, with the fsspec source of the same bucket behind it.

    source    the objects of one bucket
    store     makes a store of obstore that takes nothing from the environment

All other modules are internal.
"""
