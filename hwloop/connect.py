from hwloop.backends import *  # temporary
