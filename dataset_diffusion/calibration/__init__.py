"""How good a model's masks are, measured on images whose masks are known, and which settings make them best."""
