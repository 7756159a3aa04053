"""hwloop: program, calibrate and measure analog in-memory computing chips built from phase-change memory."""
