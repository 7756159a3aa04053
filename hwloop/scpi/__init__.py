"""The hwloop SCPI dialect: one table that driver, emulated instrument and programming manual share."""
