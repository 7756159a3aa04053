"""From weight matrices to conductance targets on the cells of a chip."""
