"""Trained weights from files, as frameworks write them: recognised by content, read tensor by tensor, never unpickled.

`content` tells what a file is, `arrays`, `checkpoints`, `keras` and `graphs` read the kinds, `shards` puts several
files together, `nested` finds the network in a checkpoint. `load_weights` makes matrices of a file and
`read_state_dict` a plain state dict. What becomes of a tensor is decided in `hwloop.mapping`.
"""

from hwloop.files.weights.loading import load_weights as load_weights
from hwloop.files.weights.loading import read_state_dict as read_state_dict
