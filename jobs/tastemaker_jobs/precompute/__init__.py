"""Lists computed ahead of time: of users, items and segments. Plain functions; `on_ray_precompute` spreads them."""
