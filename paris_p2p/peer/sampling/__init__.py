"""A prompt becomes a picture.

- `request`       what a caller asks to be drawn
- `ensemble`      the router and the experts it calls for, and what they draw
- `pictures`      PNG with provenance, alone or as a contact sheet
- `picture_file`  the file that a picture goes to: checked first, never a reason to lose it
"""
