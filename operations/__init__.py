"""One file per operation. The registry discovers every module in this package."""
