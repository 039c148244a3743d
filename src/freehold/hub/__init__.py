"""Where models come from: the catalog, the hub, wheels, GGUF files and folders of one's own.

    from freehold.hub.pull import ensure

    folder = ensure("smollm2-135m-instruct")

Importing the package imports nothing else.
"""
