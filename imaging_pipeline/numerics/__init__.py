"""Pure numerics: arrays and grids in, numbers, masks and transforms out."""
