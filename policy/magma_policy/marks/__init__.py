"""Set-of-Mark and Trace-of-Mark: pointing, tracking, drawing, and the words for both."""
