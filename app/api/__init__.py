"""HTTP: the wire, its schemas and its errors. Meets operations only as data in the registry."""
