"""The toy world: procedural scenes of the 20 PASCAL VOC classes with exact masks, and captions for them."""
