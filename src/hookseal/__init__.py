"""The gateway for identity events."""
