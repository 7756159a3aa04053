"""The rows of the dialect for sessions, calls and tokens."""

from __future__ import annotations

from hwloop.scpi.codes import Code
from hwloop.scpi.command import Command
from hwloop.scpi.parameters import Parameter

LINK_OPEN_Q = Command(
    "LINK:OPEN?",
    "Open a session, or come back to it after a lost connection.",
    (Parameter("key", "block", "16 hexadecimal digits chosen by the client"),),
    "block: the key, a space, and the number of the last call carried out (0 in a new session)",
    (Code.INVALID_BLOCK,),
    "LINK:OPEN? #220....................",
)
LINK_CALL_Q = Command(
    "LINK:CALL?",
    "Carry out a numbered program message once, and answer it (see Calls).",
    (Parameter("call", "block", "the call's number, a space, and a program message"),),
    "block: number of the call, errors it added to the queue, the chip's clock in seconds, and the message's own "
    "response, separated by spaces; number 0 when the call could not be read",
    (Code.SETTINGS_CONFLICT,),
    "LINK:CALL? #217....*OPC?....",
)
LINK_ECHO_Q = Command(
    "LINK:ECHO?",
    "Send a block back.",
    (Parameter("bytes", "block", "anything"),),
    "block",
    (Code.INVALID_BLOCK,),
    "LINK:ECHO? #15a....",
)
LINK_CLOSE = Command("LINK:CLOSe", "End the session.", example="LINK:CLOS")
LINK_CHALLENGE_Q = Command(
    "LINK:CHALlenge?",
    "A random number for LINK:AUTHenticate?, good for one answer; empty where this client needs no token (see Tokens).",
    reply="string",
    example="LINK:CHAL?",
)
LINK_AUTHENTICATE_Q = Command(
    "LINK:AUTHenticate?",
    "Prove that the token is known.",
    (Parameter("answer", "string", "HMAC-SHA256 of the challenge under the token, 64 hexadecimal digits"),),
    "1 when this client may go on, 0 when not",
    example='LINK:AUTH? "..."',
)
LINK_BUFFER_Q = Command("LINK:BUFFer?", "Longest program message in bytes.", reply="integer", example="LINK:BUFF?")
