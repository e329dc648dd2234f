"""The same job in other stream processors, as a good user of each would write it; one script and one lock each."""
