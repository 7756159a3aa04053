"""Programming methods: ways to bring the cells of a tile to their targets.

`base` says what a method is, `registry` finds one by name. `gdp`, `sgd`, `program_verify` and `exact` are the built-in
ones. `conductance_filter`, with `device_curves` and `cell_gains`, is what GDP and refreshes know of a tile;
`verified_devices` is what program-and-verify and measurements know of their devices; `unresponsive` is how both notice
devices that do not answer.
"""
