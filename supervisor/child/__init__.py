"""Setup and safeguards that nursery and workers share."""
