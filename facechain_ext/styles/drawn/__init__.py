"""Pictures of styles, drawn by us: a bust in paper cut before the look's backdrop, all of one set."""
