"""Where bytes come from: one file for each kind of store, all behind ``protocols.Source``."""
