"""What every chip can do, in arrays, with the safety checks above every driver; and how one is opened by its URI."""
