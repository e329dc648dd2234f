"""Events in and results out: event files, ask with one event, stream many, follow. Import from the modules."""
