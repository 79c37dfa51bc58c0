"""The folder ``.kaiwo/``: what is in place, what is unfinished, who has which targets."""
