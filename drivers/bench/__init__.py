"""A bench as a chip: a source meter, a pulse generator and a switch matrix around a crossbar on a probe card."""
