"""Training data: photos inverse-rendered once, varied many times, written as shards."""
