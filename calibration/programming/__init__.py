"""Programming methods: ways to bring the cells of a tile to their targets."""
