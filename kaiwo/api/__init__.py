"""What a program calls: ``download`` and ``fetch``, and the run behind both."""
