"""HTTP around the road: requests → hands, poems → responses and events; the page, the probes, the description."""
