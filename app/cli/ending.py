"""How commands end."""

# What a shell expects of a command that SIGINT ended.
INTERRUPTED = 130
