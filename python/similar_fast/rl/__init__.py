"""A signal to train policies by: preference rows and a reward function in the forms TRL takes."""
