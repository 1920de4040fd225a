"""What finished runs say of the labels of their data set, and the way of a person's decisions back into it."""
