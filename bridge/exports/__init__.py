"""Generated documents: topic reference, schemas, openHAB, tag list, access list."""
