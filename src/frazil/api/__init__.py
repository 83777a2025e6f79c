"""❷ The HTTP door: events in, receipts out, how far they are. The live stream has its place here, too."""

from frazil.api.app import bind, create_app, serve, server

__all__ = ["bind", "create_app", "serve", "server"]
