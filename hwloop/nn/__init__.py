"""Networks: those that come with hwloop, the data to test them on, and where a user's own are found."""
