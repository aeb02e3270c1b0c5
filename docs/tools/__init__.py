"""What makes pages of the documentation: references from the code, the drawing of the rooms, the site."""
