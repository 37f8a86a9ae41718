"""Is Redis fit for this, and what stands in the way of instances?"""
