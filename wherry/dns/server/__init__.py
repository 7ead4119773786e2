"""The serving process group: a parent that stands over it, fronts that receive, and the back that thinks."""
