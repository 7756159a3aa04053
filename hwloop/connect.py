from hwloop.backends import *  # temporary
from hwloop.backends import GROUP, Opener, connect, schemes, split_uri
from hwloop.backends import Scheme
