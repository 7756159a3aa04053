"""Networks whose weights are trained where they lie: arrays of devices that multiply, multiply back, and are pulsed."""
