"""Serializers: payloads as bytes and back."""
