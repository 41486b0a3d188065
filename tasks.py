"""What `inv` finds in this checkout."""

from invoke import Collection

import tokens

ns = Collection(tokens)
