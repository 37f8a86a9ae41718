"""The dashboard and the JSON interface: an ASGI application, of the extra ``ui``."""
