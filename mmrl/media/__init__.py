"""Images, videos and sounds: decoding within limits, and writing."""
