"""The domain: values and arrays in, values and arrays out."""
