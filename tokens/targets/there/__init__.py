"""Into a container or a pod, and back."""
