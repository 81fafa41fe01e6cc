"""The controller: whatever moves the arm passes its safety stage."""
